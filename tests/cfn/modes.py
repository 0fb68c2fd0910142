"""Every mode that the root template offers, and the parameters that make it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

CFN = Path(__file__).parents[2] / "cfn"
ROOT = CFN / "root.yaml"

ACCOUNT = "111122223333"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/latticegate@sha256:" + "ab" * 32
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"

# What cfn/deploy looks up or takes from the foundation stack; the rest has defaults.
ALWAYS = {
    "Image": IMAGE,
    "ImageRepositoryArn": f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/latticegate",
    "PolicyBucket": "foundation-policybucket",
    "S3PrefixListId": "pl-63a5400a",
    "LatticePrefixListId": "pl-0aaaa1111bbbb2222",
    "LatticeIpv6PrefixListId": "pl-0cccc3333dddd4444",
    "VPCLatticeServiceNetwork": "sn-0123456789abcdef0",
}
ZONES = ("us-east-1a", "us-east-1b", "us-east-1d")
EXISTING_VPC_CIDRS = "10.20.0.0/16,10.21.0.0/20"
EXISTING = {
    "Public": (("subnet-0a010000000000000", "subnet-0a020000000000000", "subnet-0a030000000000000"), ("10.20.0.0/24", "10.20.1.0/24", "10.20.2.0/24")),
    "Private": (("subnet-0b010000000000000", "subnet-0b020000000000000", "subnet-0b030000000000000"), ("10.20.16.0/24", "10.20.17.0/24", "10.20.18.0/24")),
    "Endpoint": (("subnet-0c010000000000000", "subnet-0c020000000000000", "subnet-0c030000000000000"), ("10.20.32.0/25", "10.20.32.128/25", "10.20.33.0/25")),
}


@dataclass(frozen=True)
class Mode:
    deployment: str
    zones: int
    vpc: str  # new, existing
    access: str  # ASSOCIATION, ENDPOINTS
    privatelink: str  # on, off

    def __str__(self) -> str:
        return f"{self.deployment}-{self.zones}az-{self.vpc}-{self.access.lower()}-privatelink_{self.privatelink}"

    @property
    def public(self) -> bool:
        return self.deployment != "PRIVATE"

    @property
    def private(self) -> bool:
        return self.deployment != "PUBLIC"

    @property
    def endpoints(self) -> bool:
        return self.access == "ENDPOINTS"

    @property
    def refused(self) -> bool:
        """An endpoint service needs the internal load balancer, which PUBLIC does not have."""
        return self.deployment == "PUBLIC" and self.privatelink == "on"

    def parameters(self, **more: str) -> dict[str, str]:
        given = dict(
            ALWAYS,
            DeploymentMode=self.deployment,
            LatticeAccess=self.access,
            PrivateLink=self.privatelink,
        )
        if self.privatelink == "on":
            given["PrivateLinkPrincipals"] = "arn:aws:iam::444455556666:root,arn:aws:iam::777788889999:root"
            given["PrivateLinkDnsName"] = "*.services.example.com"
        if self.vpc == "new":
            for i, zone in enumerate(ZONES[: self.zones], 1):
                given[f"AvailabilityZone{i}"] = zone
        else:
            given["ExistingVpcId"] = "vpc-0fedcba9876543210"
            given["AwsEndpoints"] = "create"
            given["ExistingVpcCidrs"] = EXISTING_VPC_CIDRS
            given["ExistingPrivateRouteTableIds"] = "rtb-0d010000000000000,rtb-0d020000000000000"
            for kind, (ids, cidrs) in EXISTING.items():
                if (kind == "Public" and not self.public) or (kind == "Endpoint" and not self.endpoints):
                    continue
                given[f"Existing{kind}SubnetIds"] = ",".join(ids[: self.zones])
                given[f"Existing{kind}SubnetCidrs"] = ",".join(cidrs[: self.zones])
        return given | more


ALL = [
    Mode(*choice)
    for choice in itertools.product(
        ("PUBLIC", "PRIVATE", "BOTH"), (1, 2, 3), ("new", "existing"), ("ASSOCIATION", "ENDPOINTS"), ("off", "on")
    )
]
OFFERED = [m for m in ALL if not m.refused]
