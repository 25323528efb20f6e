"""regraft serve: models over HTTP, and a page to try them.

    POST bytes ── guards ──▶ reading ──▶ Queue ──▶ workers: Answering.answer ──▶ JSON

answering  what serving needs of a model; models by name, read anew when their file changes
waiting    the bounded queue, its workers and deadlines
reading    what was sent → examples, or what is wrong with it
guards     token, host, origin and headers, before anything else
app        the addresses
openapi    what is told of them
figures    metrics for Prometheus
server     sockets, signals, a graceful stop

Nothing here knows what a model is made of: the command line hands in how to open one.
"""
