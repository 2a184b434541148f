"""Windows -> scores on NVIDIA Tritons; needs the extra `triton`, which nothing else of a worker does.

scorer     picks the least busy endpoint for a batch, tries again elsewhere, waits, falls back
endpoint   keeps one endpoint admitted: asks, tries, watches, ejects, asks again
admission  one admitted endpoint: connections, prepared requests, calls in flight
check      is what an endpoint serves the model that the spec names?
heap       freed memory is kept for the next batch
shared     memory that a Triton on this machine reads and writes in place
verdict    what an error of a call means for the batch and for the endpoint
"""
