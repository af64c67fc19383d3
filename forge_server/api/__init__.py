"""The JSON interface under ``/api/v1``: parse, call one service method, render."""
