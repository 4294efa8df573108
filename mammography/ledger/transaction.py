"""One transaction of the ledger: statements on its connection, or a session where rows are wanted as objects."""

from sqlalchemy import Connection
from sqlalchemy.orm import Session


class Transaction:
    """What was begun on a connection; the session is made when it is first asked for, since that takes 100 µs."""

    def __init__(self, connection: Connection, session: Session | None = None) -> None:
        self.connection = connection
        self._session = session

    @property
    def session(self) -> Session:
        """The session of this transaction; what it returns stays readable afterwards."""
        if self._session is None:
            self._session = Session(
                self.connection, expire_on_commit=False, join_transaction_mode="control_fully"
            )
        return self._session

    def commit(self) -> None:
        """Make it last."""
        if self._session is None:
            self.connection.commit()
        else:
            self._session.commit()

    def close(self) -> None:
        """Undo what was not committed."""
        try:
            if self._session is not None:
                self._session.close()
        finally:
            if self.connection.in_transaction():
                self.connection.rollback()
