"""Serves S3 with moto until its standard input ends, so never longer than whoever started it lives.

Prints where, as host:port.
"""

import logging
import os
import sys

from moto.server import ThreadedMotoServer

# It logs every request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"{host}:{port}", flush=True)
sys.stdin.buffer.read()
# Not waiting for connections that are open.
os._exit(0)
