"""The requests to an OpenAI-compatible service. This module alone needs aiohttp."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp

from volume.llm.answers import Interpreter, Outcome, Retry
from volume.llm.calls import Request
from volume.settings import LlmSettings

_PATHS = {"chat": "chat/completions", "completions": "completions"}
_OWN_MACHINE = ("localhost", "127.0.0.1", "::1")
_CONNECT_S = 30.0  # seconds to reach the service; later it is not there


class Service:
    """One session with a service; use it with ``async with``."""

    def __init__(self, settings: LlmSettings, key: str | None) -> None:
        self._settings, self._key = settings, key
        self._address = urlsplit(settings.base_url)
        self._urls = {family: f"{settings.base_url.rstrip('/')}/{path}" for family, path in _PATHS.items()}
        self._host = self._address.netloc
        self._interpreter = Interpreter(self._host, key)

    async def __aenter__(self) -> Service:
        headers = {"Content-Type": "application/json", "User-Agent": "facttune"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=min(_CONNECT_S, self._settings.timeout_s / 2)),
            connector=aiohttp.TCPConnector(limit=max(1, self._settings.in_flight)),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=_proxy_for(self._address.scheme, self._address.hostname or ""),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def send(self, draws: Sequence[Request]) -> Outcome:
        """Make one attempt to have some draws from one prompt, with consecutive samples."""
        request, status = draws[0], 0
        try:
            # No redirects: a POST would turn into a GET, and the key would go to a host that nobody named.
            async with self._session.post(self._urls[request.family], data=json.dumps(request.body(len(draws))).encode(), allow_redirects=False) as response:
                status = response.status
                return self._interpreter.read(request, status, response.headers, await response.read(), len(draws))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Retry(f"{self._host} cannot be reached: {self._interpreter.shorten(str(error))}", stop="Check base_url under [llm] or [completions], and that the service runs.")
        except TimeoutError:
            return Retry(f"{self._host} did not answer within {self._settings.timeout_s:g} s", paid=True)
        except (aiohttp.ClientError, OSError) as error:
            said = self._interpreter.shorten(str(error)) or type(error).__name__
            return Retry(f"the connection to {self._host} broke: {said}", paid=status == 200)


def _proxy_for(scheme: str, host: str) -> str | None:
    """Return the proxy that the environment names for the service, found once: aiohttp's own way reads a file for every call."""
    if host in _OWN_MACHINE or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(scheme)
