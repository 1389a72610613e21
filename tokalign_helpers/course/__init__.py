"""What only notebooks need: their set-up, figures, widgets, and the ledger of the paper's claims."""
