"""The door to the PACS: association, reception, completion, reporting, delivery, commitment, console."""
