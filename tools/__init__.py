"""What maintainers run on a checkout; the wheel does not carry it. README.md says what each module does."""
