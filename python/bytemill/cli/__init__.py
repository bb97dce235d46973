"""The programs behind `bytemill NAME` and `python -m scripts.NAME`."""
