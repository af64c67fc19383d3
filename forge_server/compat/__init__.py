"""The same releases for clients written by others: PyPI's, Hugging Face's and OCI's interfaces.

Each façade shows what it was asked for and checks nothing for its client. So whatever it serves
comes from a verified release that may be served now; `serving` alone says which those are.
"""
