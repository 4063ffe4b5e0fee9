"""Fills the validator's cache with the JSON-LD context of RO-Crate 1.1, from the file that the package rocrate brings: no network is asked.

    python context_cache.py CACHE       in the environment of crate.txt
"""

from __future__ import annotations

import io
import json
import sys
from importlib import resources

import requests
import requests_cache

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


class OneFile(requests.adapters.BaseAdapter):
    """Answers every request with one file."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    def send(self, request, **_):  # type: ignore[no-untyped-def]
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, request.url, request
        answer.headers["Content-Type"] = "application/ld+json"
        answer.raw = requests.packages.urllib3.HTTPResponse(io.BytesIO(self.body), headers=answer.headers, status=200, preload_content=False)
        return answer

    def close(self) -> None:
        pass


body = resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()
assert json.loads(body)["@id"] == CONTEXT
session = requests_cache.CachedSession(sys.argv[1], backend="sqlite", expire_after=-1)
session.mount(CONTEXT, OneFile(body))
session.get(CONTEXT).raise_for_status()
assert session.cache.contains(url=CONTEXT)
