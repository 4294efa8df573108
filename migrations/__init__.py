"""How the ledger's tables came to be, step by step; mammography.ledger.schema runs them."""
