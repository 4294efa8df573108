"""What we remember: where every study is, what was read, what was sent, and why.

Read it in this order: tables (what is kept), url and engine (where), studies (how they move), findings, deliveries,
doorbell (how a worker is woken), schema (how the tables come to be).
"""
