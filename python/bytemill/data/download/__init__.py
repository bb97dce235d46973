"""From a server to a folder of shards that are known to be whole.

`sources` finds what a name stands for: a dataset that is known here, a repository of the Hugging
Face hub, or addresses that differ by a number. `fetch` brings one file, however often the server
fails; `manifest` is the folder's record of sizes and checksums; `folder` does it for many files.
"""

from bytemill.data.download.folder import download
from bytemill.data.download.http import DownloadError
from bytemill.data.download.manifest import DownloadManifest

__all__ = ["DownloadError", "DownloadManifest", "download"]
