"""Alembic's environment: mammography.ledger.schema hands it a connection in a transaction.

Developers run `alembic -c migrations/alembic.ini -x url=sqlite:///ledger.db revision --autogenerate -m ...`.
"""

from alembic import context
from sqlalchemy import Connection, create_engine

from mammography.ledger.tables import Table


def run(connection: Connection) -> None:
    """Run the migrations on an open connection."""
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = create_engine(context.get_x_argument(as_dictionary=True)["url"])
    with engine.begin() as own:
        run(own)
