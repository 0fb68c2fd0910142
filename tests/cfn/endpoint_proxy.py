"""Every form of the endpoint proxy, and the parameters that make it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import hub
import modes

ROOT = modes.CFN / "endpoint-proxy.yaml"
BUCKETS = "arn:aws:s3:::reports,arn:aws:s3:::uploads"
S3_NETWORKS = "16.15.176.0/20,52.216.0.0/15"


@dataclass(frozen=True)
class Proxy:
    zones: int
    s3: str  # interface, gateway
    services: str
    listeners: str
    resolver: str  # on, off

    def __str__(self) -> str:
        return f"endpoints-{self.zones}az-s3_{self.s3}-{self.services.count(',') + bool(self.services)}services-{self.listeners}-resolver_{self.resolver}"

    def parameters(self, **more: str) -> dict[str, str]:
        given = dict(hub.ALWAYS, BucketArns=BUCKETS, S3Access=self.s3, Services=self.services, Listeners=self.listeners, InboundResolver=self.resolver)
        given |= {f"AvailabilityZone{i}": zone for i, zone in enumerate(modes.ZONES[: self.zones], 1)}
        if self.s3 == "gateway":
            given["S3Networks"] = S3_NETWORKS
        return given | more


def moved(before: str, after: str) -> list[str]:
    """Services whose endpoint would be made in one place while that in another still stands."""
    place = lambda text: {name: i for i, name in enumerate(text.split(",")) if name}  # noqa: E731
    old, new = place(before), place(after)
    return [name for name in old.keys() & new.keys() if old[name] != new[name]]


ALL = [Proxy(*choice) for choice in itertools.product((1, 2, 3), ("interface", "gateway"), ("", "sqs,kms", "sqs,kms,sts,sns,ssm,execute-api"), ("443", "443,80"), ("off", "on"))]
USUAL = Proxy(3, "interface", "sqs,kms", "443", "off")
