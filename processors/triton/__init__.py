"""Windows -> scores on NVIDIA Tritons; needs the extra `triton`, which nothing else of a worker does.

scorer     picks the least busy endpoint for a batch, tries again elsewhere, waits, falls back
pool       who is there, and whose turn it is
endpoint   keeps one endpoint admitted: asks, tries, watches, ejects, asks again
admission  one admitted endpoint: connections, calls in flight
check      is what an endpoint serves the model that the spec names?
connection addresses and TLS
requests   prepared requests, and what their answers have to be
heap       freed memory is kept for the next batch
shared     memory that a Triton on this machine reads and writes in place
memory     such memory, registered at one endpoint and taken back
load       a model is loaded on every endpoint, before anything is sent to it
verdict    what an error of a call means for the batch and for the endpoint
"""
