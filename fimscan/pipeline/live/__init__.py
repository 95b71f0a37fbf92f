"""Live looks: look at single paths between the scans, as soon as the audit log reports them."""
