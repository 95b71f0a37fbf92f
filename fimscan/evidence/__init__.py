"""The PCI DSS evidence bundle: build, sign, verify."""
