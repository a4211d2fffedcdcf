"""An endpoint's cells: a sweep over HTTP, and an agent's task."""

from itertools import product

from msgspec import Struct

from llamatrix.config.cell import SpeedTest, sha256_of
from llamatrix.config.matrix import EndpointSweep, HttpEndpoint

ENDPOINT_VERSION = 1
"""Bumped by hand when the way of measuring endpoints changes."""


class EndpointCell(Struct, frozen=True, kw_only=True):
    """A sweep over one endpoint.

    The key in the matrix, the model's name and what the server reports of itself are all
    that identify it: neither address nor key is part of a digest or a record.
    """

    endpoint_key: str
    endpoint: HttpEndpoint
    sweep_key: str
    sweep: EndpointSweep

    @property
    def id(self) -> str:
        """`endpoint/mine/http`."""
        return f"endpoint/{self.endpoint_key}/{self.sweep_key}"

    @property
    def tests(self) -> tuple[SpeedTest, ...]:
        sweep = self.sweep
        return (
            *(
                SpeedTest(n_prompt=tokens, n_gen=0, concurrency=clients)
                for tokens, clients in product(sweep.n_prompt, sweep.concurrency)
            ),
            *(
                SpeedTest(n_prompt=0, n_gen=tokens, n_depth=depth, concurrency=clients)
                for tokens, depth, clients in product(
                    sweep.n_gen, sweep.n_depth, sweep.concurrency
                )
            ),
        )

    @property
    def spec_digest(self) -> str:
        """Over what can change the number of a test; other tests cannot."""
        endpoint = self.endpoint
        return sha256_of(
            (
                ENDPOINT_VERSION,
                (self.endpoint_key, endpoint.model, endpoint.request),
                self.sweep.repetitions,
            )
        )

    def digest(self, *, host_slug: str, reported: object) -> str:
        """The spec on one class of host, of one server by its own words."""
        return sha256_of((self.spec_digest, host_slug, reported))
