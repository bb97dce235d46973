"""A server that OpenAI's clients speak to, and its page.

`requests` checks what is asked, `assistant` makes rows of an engine of it, `answers` brings what
they write back to the event loop, `replies` writes it as OpenAI does. `app` joins them; `guard` and
`body` keep out what should not come in. It needs the extra `serve`.
"""
