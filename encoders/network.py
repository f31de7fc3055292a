"""Is a host there? Asked once, briefly, before a library that would retry for minutes (no torch)."""

from __future__ import annotations

import ssl
import urllib.request
from urllib.error import HTTPError, URLError

TIMEOUT_SECONDS = 5.0


def reachable(url: str) -> bool:
    """Whether anything answers at a URL, through the proxy of the environment if there is one.

    Any HTTP status counts as an answer, and so does a certificate this Python does not trust: the library
    that fetches may have a certificate bundle of its own.
    """
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return True
    except HTTPError as error:
        error.close()
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
