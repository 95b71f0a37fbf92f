"""The PCI DSS evidence bundle: collect, build, sign, verify. Also verifies the database."""
