"""Engines that write what they are told to, for tests of what shows it."""

import threading
from types import SimpleNamespace

from bytemill.lm.engine.rows import End, Token


class Scripted:
    """Stands for a pool: each row gets the ids of the first script whose key is in its prompt.

    Args:
        renderer: Of the tokenizer.
        scripts: Ids by text of the prompt; None among the ids waits until `go` is set.
    """

    def __init__(self, renderer, scripts):
        self._renderer, self._scripts = renderer, scripts
        self.go = threading.Event()
        self.rows, self.prompts = [], []
        self.is_alive = True
        engine = SimpleNamespace(max_length=4096)
        self.workers = [SimpleNamespace(engine=engine)]

    def start(self):
        pass

    def close(self, patience=None):
        self.go.set()

    def submit(self, rows):
        for row in rows:
            self.rows.append(row)
            threading.Thread(target=self._write, args=(row,), daemon=True).start()

    def _write(self, row):
        prompt = self._renderer.tokenizer.decode(row.machine.prompt)
        self.prompts.append(prompt)
        asked = prompt.rpartition("<|user_start|>")[2]
        ids = next(ids for key, ids in self._scripts.items() if key in asked)
        for id_ in [*ids, self._renderer.stop_id]:
            if id_ is None:
                while not row.is_cancelled and not self.go.wait(0.01):
                    pass
                continue
            if row.is_cancelled:
                row.on_end(End("cancelled", None))
                return
            row.machine.take(id_)
            row.on_token(Token(id_, False, None, ()))
        row.on_end(End("stop", None))
