"""People and policy: accounts, organizations, teams, repositories as people see them, plans, usage."""
