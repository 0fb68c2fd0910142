"""Every form of the egress hub, and the parameters that make it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import modes

ROOT = modes.CFN / "egress-hub.yaml"
ALWAYS = {name: modes.ALWAYS[name] for name in ("Image", "ImageRepositoryArn", "PolicyBucket", "S3PrefixListId")}
VPC_NETWORKS = "10.20.0.0/16,2600:1f18:9999::/56"


@dataclass(frozen=True)
class Hub:
    zones: int
    vpc: str  # new, existing
    nat: str  # in-each-zone, single
    ipv6: str  # on, off
    privatelink: str  # on, off, named

    def __str__(self) -> str:
        return f"hub-{self.zones}az-{self.vpc}-nat_{self.nat}-ipv6_{self.ipv6}-privatelink_{self.privatelink}"

    def parameters(self, **more: str) -> dict[str, str]:
        given = dict(ALWAYS, NatGateways=self.nat, Ipv6=self.ipv6, PrivateLink="off" if self.privatelink == "off" else "on")
        given |= {f"AvailabilityZone{i}": zone for i, zone in enumerate(modes.ZONES[: self.zones], 1)}
        if self.privatelink == "named":
            given |= {"PrivateLinkPrincipals": "arn:aws:iam::444455556666:root,arn:aws:iam::777788889999:root", "PrivateLinkDnsName": "proxy.example.com"}
        if self.vpc == "existing":
            ids, cidrs = modes.EXISTING["Private"]
            given |= {"ExistingVpcId": "vpc-0fedcba9876543210", "ExistingVpcCidrs": VPC_NETWORKS}
            given |= {"ExistingPrivateSubnetIds": ",".join(ids[: self.zones]), "ExistingPrivateSubnetCidrs": ",".join(cidrs[: self.zones])}
        return given | more


ALL = [Hub(*choice) for choice in itertools.product((1, 2, 3), ("new", "existing"), ("in-each-zone", "single"), ("off", "on"), ("off", "on", "named"))]
# An existing VPC has the NAT gateways that it has.
OFFERED = [h for h in ALL if h.vpc == "new" or h.nat == "in-each-zone"]
USUAL = Hub(3, "new", "in-each-zone", "off", "named")
