"""The paper's claims as studies: arms in one workspace, contrasts over users, a verdict."""
