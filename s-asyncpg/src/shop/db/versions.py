"""What the layer and its tests need, each with the newest version that was tested."""

REQUIREMENTS = {
    "sqlalchemy[asyncio]>=2.1.7": "2.1.9",
    "asyncpg>=0.31": "0.32.0",
    "alembic>=1.18": "1.20.1",
    "pydantic>=2.10": "2.14.4",
    "pydantic-settings>=2.12": "2.16.3",
    "uuid-utils>=0.14": "1.2.0",
    "fastapi[standard]>=0.121": "0.165.0",
    "pytest>=9.0": "9.2.0",
    "pytest-asyncio>=1.3": "1.5.0",
    "httpx>=0.28": "0.28.1",
    "polyfactory>=3.5": "3.5.0",
}
