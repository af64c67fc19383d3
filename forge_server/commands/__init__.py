"""The operator's commands that `forge_server.manage` does not define itself."""
