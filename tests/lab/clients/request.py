"""Two requests on one connection with Python's own client. Arguments: URL, CA file."""

import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1])
if url.scheme == "https":
    context = ssl.create_default_context(cafile=sys.argv[2])
    connection = http.client.HTTPSConnection(url.netloc, timeout=30, context=context)
else:
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
for body in ("first", "second"):
    connection.request("POST", url.path, body)
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"{answer.status} {answer.reason}: {answer.read().decode()}")
    print(json.load(answer)["body"])
