"""One module per command: options and help. What a command does lives in `flows`."""
