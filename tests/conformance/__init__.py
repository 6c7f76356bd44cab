"""Conformance: the checklist of the compatible protocol, proven over the real wire of a real daemon."""
