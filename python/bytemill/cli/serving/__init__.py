"""The programs that talk: a server, and a conversation in the terminal."""
