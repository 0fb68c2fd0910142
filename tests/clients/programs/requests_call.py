"""A session of Python's requests: a call, a chunked upload, a download. Arguments: the origin, and perhaps how many seconds
to pause then, before another call."""

import sys
import time

import requests

origin = sys.argv[1]
with requests.Session() as session:
    answer = session.get(f"{origin}/echo", timeout=30)
    print("GET", answer.status_code, answer.text)
    answer.raise_for_status()
    answer = session.post(f"{origin}/echo", data=(b"x" * 1000 for _ in range(300)), timeout=30)
    seen = answer.json()
    print("POST", answer.status_code, seen["framing"], seen["length"])
    with session.get(f"{origin}/bytes/1048576", stream=True, timeout=30) as answer:
        print("bytes", answer.status_code, sum(len(part) for part in answer.iter_content(10000)))
    for seconds in sys.argv[2:]:
        (manager,) = session.get_adapter(origin).proxy_manager.values()
        pool = manager.connection_from_url(origin)
        before = pool.num_connections
        time.sleep(int(seconds))
        answer = session.get(f"{origin}/echo", timeout=30)
        same = "the same connection" if pool.num_connections == before else "another connection"
        print("after the pause", answer.status_code, "on", same)
