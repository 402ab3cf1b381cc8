"""What Schemathesis has to be told before it can send everything that the description names."""

import schemathesis

# tus sends raw bytes under a name of its own.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
