"""Settings that Schemathesis needs to send everything in the description."""

import schemathesis

# tus sends raw bytes with its own media type.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
