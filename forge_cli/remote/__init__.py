"""Everything that speaks HTTP: the API client, trusted metadata, and blob transfer."""
