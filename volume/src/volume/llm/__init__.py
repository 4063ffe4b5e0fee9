"""Recorded calls to a language-model service: the only way by which a stage may ask one.

A reply is committed to a SQLite store before anyone uses it, under a key of all that decides it, the sample's index
included. In `replay` mode no network is touched and a miss is an error, so experiments on a retired model still rerun.

    calls     what is asked and answered, token estimates, prices
    store     the recorded replies, one SQLite file
    limits    requests and tokens per minute, the spending cap
    turn      one process at a time asks
    answers   what an answer of the service means: a reply, another attempt, the end of this call or of all
    asking    many calls in flight, retried, within the limits
    service   the requests themselves; the one module that needs aiohttp
    client    all of it together
    transfer  export, import and show: `python -m volume.llm`
"""

from volume.llm.calls import CallFailed, Reply, Request, Usage, estimate_tokens, price
from volume.llm.client import Client
from volume.llm.store import CallStore
from volume.settings import Mode

__all__ = ["CallFailed", "CallStore", "Client", "Mode", "Reply", "Request", "Usage", "estimate_tokens", "price"]
