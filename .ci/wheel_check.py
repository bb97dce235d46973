"""Checks a wheel as a stranger would meet it: small, and working where nothing else is installed.

python .ci/wheel_check.py dist
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

MOST_BYTES = 8_000_000
ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    """A command's output; what it says goes on if it fails."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=alone, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Checks the one wheel in the folder that is named."""
    wheels = sorted(Path(sys.argv[1]).resolve().glob("*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"{sys.argv[1]}: {len(wheels)} wheels; make wheel leaves one")
    wheel = wheels[0]
    size = wheel.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{wheel.name}: {size:,} bytes, more than {MOST_BYTES:,}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "empty", with_pip=True)
        programs = folder / "empty" / ("Scripts" if sys.platform == "win32" else "bin")
        python = programs / "python"
        run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
        there = "import importlib.util as u; print([n for n in ('torch',) if u.find_spec(n)])"
        if (found := run(python, "-c", there, cwd=folder).strip()) != "[]":
            raise SystemExit(f"the environment was not empty: {found}")
        print(run(python, ROOT / ".ci" / "readme.py", cwd=folder).strip())
        version = run(programs / "bytemill", "--version", cwd=folder).strip()
        texts = folder / "texts"
        texts.mkdir()
        (texts / "a.txt").write_text("low lower lowest, new newer newest\n" * 100)
        command = (
            "tok-train",
            "--input",
            texts,
            "--vocab-size",
            270,
            "--out",
            folder / "tokenizer",
        )
        run(programs / "bytemill", *command, cwd=folder)
        if not (folder / "tokenizer" / "bytemill.json").is_file():
            raise SystemExit("bytemill tok-train wrote no tokenizer")
    print(f"{wheel.name}: {size / 1e6:.2f} MB; {version}; works without torch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
