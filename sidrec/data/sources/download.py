"""Downloads that are complete, checked and atomic, or fail with one sentence."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

_CHUNK = 1 << 16


def fetch(
  url: str,
  destination: str | os.PathLike,
  md5: str,
  max_bytes: int,
  retries: int = 3,
  timeout: float = 30.0,
  pause: float = 1.0,
) -> Path:
  """Downloads a file once.

  Nothing is ever at `destination` but the whole, checked file: it is written beside it and
  renamed. A file that is there already and has the right checksum is not fetched again.

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
  destination = Path(destination)
  if not url.startswith(("http://", "https://")):
    raise ValueError(f"cannot download {url!r}: only http and https are supported")
  if destination.is_file() and _md5(destination) == md5:
    return destination
  destination.parent.mkdir(parents=True, exist_ok=True)
  partial = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}")
  try:
    for attempt in range(retries + 1):
      try:
        _transfer(url, partial, max_bytes, timeout)
        break
      except (OSError, http.client.HTTPException) as error:
        if attempt == retries or not _may_pass(error):
          raise ConnectionError(
            f"could not download {url} ({attempt + 1} attempts): {_reason(error)}"
          ) from error
        time.sleep(pause * 2**attempt)
    found = _md5(partial)
    if found != md5:
      raise ValueError(f"{url} has md5 {found}, expected {md5}: another file, or a damaged one")
    os.replace(partial, destination)
  finally:
    partial.unlink(missing_ok=True)
  return destination


def _transfer(url: str, partial: Path, max_bytes: int, timeout: float) -> None:
  """One attempt: the answer's body into the file `partial`."""
  with urllib.request.urlopen(url, timeout=timeout) as answer, open(partial, "wb") as file:
    length = answer.headers.get("Content-Length")
    received = 0
    while chunk := answer.read(_CHUNK):
      received += len(chunk)
      if received > max_bytes:
        raise ValueError(f"{url} is larger than the limit of {max_bytes:,} bytes")
      file.write(chunk)
  # Reading in chunks does not notice a connection that ends early.
  if length is not None and received != int(length):
    raise ConnectionError(f"the transfer ended after {received:,} of {int(length):,} bytes")


def _may_pass(error: Exception) -> bool:
  if isinstance(error, urllib.error.HTTPError):
    return error.code in (408, 429) or error.code >= 500
  return True


def _reason(error: Exception) -> str:
  reason = error.reason if isinstance(error, urllib.error.URLError) else error
  if isinstance(error, urllib.error.HTTPError):
    reason = f"HTTP {error.code} {error.reason}"
  return str(reason) or type(error).__name__


def _md5(path: Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "md5").hexdigest()
