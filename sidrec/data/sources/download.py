"""Downloads that are complete, checked and atomic, or fail with one sentence."""

import io
import os
import time
from pathlib import Path
from typing import Any


def fetch(
  url: str,
  destination: str | os.PathLike,
  md5: str,
  max_bytes: int,
  retries: int = 3,
  timeout: float = 30.0,
  pause: float = 1.0,
) -> Path:
  """Downloads a file, unless it is there with the right checksum.

  Nothing is ever at `destination` but the whole, checked file.

  Args:
    url: http or https.
    destination: path of the file to write; its folder is made.
    md5: expected checksum, in hexadecimal.
    max_bytes: a longer answer is refused.
    retries: further attempts after a failure that may pass (no connection, a timeout, a
      broken transfer, a server's 408, 429 or 5xx).
    timeout: seconds that the server may stay silent.
    pause: seconds before the first retry; each further pause is twice as long.

  Returns:
    The destination.

  Raises:
    ConnectionError: if no attempt brought the file.
    ValueError: if the file is too large, has another checksum, or the URL is not http(s).
  """
  import pooch  # here, because few runs download anything

  if not url.startswith(("http://", "https://")):
    raise ValueError(f"cannot download {url!r}: only http and https are supported")
  get = pooch.HTTPDownloader(timeout=timeout, chunk_size=1 << 16)

  def download(url: str, partial: str, _: Any) -> None:
    with _LimitedFile(partial, max_bytes, url) as file:
      get(url, file, None)

  folder, name = os.path.split(destination)
  downloader: Any = download  # pooch's own type for it has other names
  for attempt in range(retries + 1):
    try:
      return Path(pooch.retrieve(url, f"md5:{md5}", name, folder or ".", downloader=downloader))
    except OSError as error:
      status = getattr(getattr(error, "response", None), "status_code", 500)
      if attempt == retries or not (status in (408, 429) or status >= 500):
        raise ConnectionError(
          f"could not download {url} ({attempt + 1} attempts): {error or type(error).__name__}"
        ) from error
      time.sleep(pause * 2**attempt)
  raise AssertionError("the last attempt returns or raises")


class _LimitedFile(io.FileIO):
  """A new file that refuses to grow too large."""

  def __init__(self, path: str, max_bytes: int, url: str) -> None:
    super().__init__(path, "wb")
    self._max_bytes, self._url = max_bytes, url

  def write(self, data: Any, /) -> int:
    if self.tell() + len(data) > self._max_bytes:
      raise ValueError(f"{self._url} is larger than the limit of {self._max_bytes:,} bytes")
    return super().write(data)
