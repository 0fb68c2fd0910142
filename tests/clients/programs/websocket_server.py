"""A WebSocket server that echoes, with TLS on port 443 and without on port 80. Arguments: address, certificate, key."""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve

address, certificate, key = sys.argv[1:]
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(certificate, key)


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    async with serve(echo, address, 80, max_size=None), serve(echo, address, 443, ssl=tls, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
