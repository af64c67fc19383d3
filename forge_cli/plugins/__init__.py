"""What other programs load as plug-ins. Nothing of ours imports these modules: each needs the
program that it is for."""
