"""The door to the GPU: a Celery worker that takes studies from the ledger and reads them.

Read it in this order: settings, app (what a worker has at hand), tasks (what it does), commands.
"""
