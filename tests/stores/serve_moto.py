"""Serves S3 with moto until its standard input closes, which happens when its parent process ends.

Prints its address as host:port.
"""

import logging
import os
import sys

from moto.server import ThreadedMotoServer

# Without this it logs every request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"{host}:{port}", flush=True)
sys.stdin.buffer.read()
# Exits without waiting for open connections.
os._exit(0)
