"""What each client does: one file for each family of them."""

from calls import aws, browser, curl, git, heads, languages, packages, python, streams, wget
from calls.base import CALLS


def every():
    return CALLS


__all__ = ["aws", "browser", "curl", "every", "git", "heads", "languages", "packages", "python", "streams", "wget"]
