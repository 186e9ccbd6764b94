"""Who may do what: users with roles, passwords (argon2id), sessions, API tokens, and the brake on guessing.

Tokens are random; the store keeps only their SHA-256, so a copy of the database lets nobody in. A form's CSRF token is
derived from the session token, which no other site can read. Every function takes `now` in milliseconds.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from inspector.decide.database import api_tokens, login_failures, meta, sessions, users, writing
from nouns.errors import InputError, Refused

ROLES = ("viewer", "analyst", "admin")
"""Each role may do what the ones before it may: look; decide; manage users."""

NAME = re.compile(r"[\w][\w.@+ -]{0,79}")
MIN_PASSWORD = 10


@dataclass(frozen=True)
class User:
    id: int
    name: str
    role: str

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Session:
    """A signed-in user. `csrf` must come back with every form; None for API tokens, which no browser sends by itself."""

    user: User
    csrf: str | None


def make_hasher():
    """Argon2id with the RFC 9106 low-memory profile, argon2-cffi's default."""
    from argon2 import PasswordHasher

    return PasswordHasher()


@functools.cache
def _hasher():
    return make_hasher()


@functools.cache
def _decoy() -> str:
    """Verified when a name is unknown, so that the time taken does not tell which names exist."""
    return _hasher().hash(secrets.token_hex(16))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def csrf_token(secret: str) -> str:
    """The form token that belongs to a session's (or a sign-in page's) secret."""
    return hmac.new(secret.encode(), b"supernotes form", hashlib.sha256).hexdigest()


def check_password(password: str) -> None:
    """Raises `Refused` for a password that is too short; long ones are fine up to 1,000 characters."""
    if not MIN_PASSWORD <= len(password) <= 1000:
        raise Refused(
            f"A password needs between {MIN_PASSWORD} and 1,000 characters; this one has {len(password)}.", 422
        )


def add_user(engine: Engine, name: str, role: str, password: str | None, now: int, origin: str = "password") -> User:
    """A new account. Raises `Refused` for a bad or taken name, an unknown role or a weak password."""
    name = name.strip()
    if not NAME.fullmatch(name):
        raise Refused(f"{name!r} cannot be a user's name: use 1 to 80 letters, digits and . @ + - _ or spaces.", 422)
    if role not in ROLES:
        raise Refused(f"{role!r} is not a role; choose one of {', '.join(ROLES)}.", 422)
    hashed = None
    if origin == "password":
        check_password(password or "")
        hashed = _hasher().hash(password or "")
    try:
        with writing(engine) as connection:
            row = connection.execute(
                users.insert()
                .values(name=name, role=role, password_hash=hashed, active=True, origin=origin, created_at=now)
                .returning(users.c.id)
            ).scalar_one()
    except sa.exc.IntegrityError as error:
        raise Refused(f"There is already a user named {name!r}.", 409) from error
    return User(int(row), name, role)


def ensure_user(engine: Engine, name: str, role: str, now: int, origin: str) -> User:
    """The user of that name, created with `role` if new. For names vouched for by a proxy or by single-user mode."""
    found = find_user(engine, name)
    if found is None:
        try:
            return add_user(engine, name, role, None, now, origin)
        except Refused as error:
            if error.status != 409:
                raise
            found = find_user(engine, name)
    if found is None:
        raise Refused("This account has been switched off.", 403)
    return found


def find_user(engine: Engine, name: str) -> User | None:
    """An active user by name."""
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(users.c.id, users.c.name, users.c.role).where(users.c.name == name, users.c.active)
        ).first()
    return User(int(row.id), row.name, row.role) if row else None


def list_users(engine: Engine) -> list[dict]:
    with engine.connect() as connection:
        query = sa.select(users.c.id, users.c.name, users.c.role, users.c.active, users.c.origin, users.c.created_at)
        return [dict(row._mapping) for row in connection.execute(query.order_by(users.c.name))]


def change_user(
    engine: Engine, name: str, *, role: str | None = None, active: bool | None = None, password: str | None = None
) -> None:
    """Change an account. Its sessions end when it is switched off or gets another password. The last admin stays one."""
    values: dict[str, object] = {}
    if role is not None:
        if role not in ROLES:
            raise Refused(f"{role!r} is not a role; choose one of {', '.join(ROLES)}.", 422)
        values["role"] = role
    if active is not None:
        values["active"] = active
    if password is not None:
        check_password(password)
        values["password_hash"] = _hasher().hash(password)
    with writing(engine) as connection:
        row = connection.execute(sa.select(users).where(users.c.name == name)).first()
        if row is None:
            raise Refused(f"There is no user named {name!r}.", 404)
        loses = row.role == "admin" and row.active and (role not in (None, "admin") or active is False)
        others = sa.select(sa.func.count()).where(users.c.role == "admin", users.c.active, users.c.id != row.id)
        if loses and not connection.execute(others).scalar_one():
            raise Refused(f"{name!r} is the last admin; make somebody else an admin first.", 409)
        if values:
            connection.execute(users.update().where(users.c.id == row.id).values(**values))
        if active is False or password is not None:
            connection.execute(sessions.delete().where(sessions.c.user_id == row.id))
        if active is False:
            connection.execute(api_tokens.delete().where(api_tokens.c.user_id == row.id))


def _failures(engine: Engine, since: int, **where: str) -> int:
    """How often signing in failed since then, for this name or address or both."""
    query = sa.select(sa.func.count()).select_from(login_failures).where(login_failures.c.at > since)
    with engine.connect() as connection:
        return connection.execute(query.filter_by(**where)).scalar_one()


def sign_in(engine: Engine, name: str, password: str, address: str, now: int, *, brake: tuple[int, int]) -> User:
    """The user, if name and password fit. Raises `Refused` 401 if not, 429 after too many failures.

    Failures are counted in the store per name-and-address and, four times as many, per address: one person's
    mistyping does not lock out others, and several server processes share the count. `brake`: failures, seconds.
    """
    name = name.strip()[:80]
    failures, window = brake
    since = now - window * 1000
    many = _failures(engine, since, address=address, name=name) >= failures
    if many or _failures(engine, since, address=address) >= 4 * failures:
        raise Refused(f"Too many failed sign-ins. Wait {max(1, window // 60)} minutes, then try again.", 429)
    with engine.connect() as connection:
        row = connection.execute(sa.select(users).where(users.c.name == name, users.c.active)).first()
    hashed = row.password_hash if row and row.password_hash else _decoy()
    try:
        _hasher().verify(hashed, password)
        good = bool(row and row.password_hash)
    except Exception as error:
        from argon2.exceptions import Argon2Error

        if not isinstance(error, Argon2Error):
            raise
        good = False
    with writing(engine) as connection:
        connection.execute(login_failures.delete().where(login_failures.c.at <= since))
        if good:
            connection.execute(
                login_failures.delete().where(login_failures.c.name == name, login_failures.c.address == address)
            )
        else:
            connection.execute(login_failures.insert().values(name=name, address=address, at=now))
    if not good or row is None:
        raise Refused("Name or password is wrong.", 401)
    return User(int(row.id), row.name, row.role)


def open_session(engine: Engine, user: User, now: int, hours: int) -> str:
    """A new session; returns the secret for the cookie."""
    token = secrets.token_urlsafe(32)
    with writing(engine) as connection:
        connection.execute(sessions.delete().where(sessions.c.expires_at < now))
        connection.execute(
            sessions.insert().values(
                token_sha256=_sha256(token), user_id=user.id, created_at=now, expires_at=now + hours * 3_600_000
            )
        )
    return token


def read_session(engine: Engine, token: str, now: int) -> Session | None:
    """The session that a cookie's secret belongs to, None if it has ended or its user was switched off."""
    query = sa.select(users).join(sessions, sessions.c.user_id == users.c.id)
    query = query.where(sessions.c.token_sha256 == _sha256(token), sessions.c.expires_at > now, users.c.active)
    with engine.connect() as connection:
        row = connection.execute(query).first()
    return Session(User(int(row.id), row.name, row.role), csrf_token(token)) if row else None


def close_session(engine: Engine, token: str) -> None:
    with writing(engine) as connection:
        connection.execute(sessions.delete().where(sessions.c.token_sha256 == _sha256(token)))


def make_api_token(engine: Engine, user: User, label: str, now: int) -> str:
    """A token for programs, shown once. It has its user's permissions and ends with the account or when revoked."""
    label = label.strip()[:80] or "unnamed"
    token = "sn_" + secrets.token_urlsafe(32)
    with writing(engine) as connection:
        connection.execute(
            api_tokens.insert().values(token_sha256=_sha256(token), user_id=user.id, label=label, created_at=now)
        )
    return token


def list_api_tokens(engine: Engine, user: User) -> list[dict]:
    with engine.connect() as connection:
        query = sa.select(api_tokens.c.id, api_tokens.c.label, api_tokens.c.created_at, api_tokens.c.revoked_at)
        rows = connection.execute(query.where(api_tokens.c.user_id == user.id).order_by(api_tokens.c.id))
        return [dict(row._mapping) for row in rows]


def revoke_api_token(engine: Engine, user: User, token_id: int, now: int) -> None:
    with writing(engine) as connection:
        connection.execute(
            api_tokens.update()
            .where(api_tokens.c.id == token_id, api_tokens.c.user_id == user.id)
            .values(revoked_at=now)
        )


def read_api_token(engine: Engine, token: str) -> Session | None:
    """The user of an API token, None if it was revoked or the user switched off."""
    query = sa.select(users).join(api_tokens, api_tokens.c.user_id == users.c.id)
    query = query.where(api_tokens.c.token_sha256 == _sha256(token), api_tokens.c.revoked_at.is_(None), users.c.active)
    with engine.connect() as connection:
        row = connection.execute(query).first()
    return Session(User(int(row.id), row.name, row.role), None) if row else None


def has_passwords(engine: Engine) -> bool:
    """Whether anybody signs in here with a password."""
    with engine.connect() as connection:
        return connection.execute(sa.select(users.c.id).where(users.c.password_hash.is_not(None))).first() is not None


def make_setup_code(engine: Engine) -> str | None:
    """A code with which the first account can be made, or None if somebody has a password. Only its hash is kept; it replaces others."""
    if has_passwords(engine):
        return None
    code = "-".join(secrets.token_hex(2).upper() for _ in range(4))
    with writing(engine) as connection:
        connection.execute(meta.delete().where(meta.c.key == "setup_code"))
        connection.execute(meta.insert().values(key="setup_code", value=_sha256(code)))
    return code


def set_up(
    engine: Engine, code: str, name: str, password: str | None, address: str, now: int, *, brake: tuple[int, int]
) -> User:
    """Make the first account, an admin, with the code printed in the terminal. Works once; guessing is braked.

    Without a password it is the account of the only person on this computer, who comes in by such a link each time.
    """
    if has_passwords(engine):
        raise Refused("The first account exists already; sign in instead.", 409)
    failures, window = brake
    with engine.connect() as connection:
        stored = connection.execute(sa.select(meta.c.value).where(meta.c.key == "setup_code")).scalar()
    if _failures(engine, now - window * 1000, name="(setup)") >= 4 * failures:
        raise Refused("Too many wrong codes. Wait a few minutes, then try again.", 429)
    if stored is None or not hmac.compare_digest(stored, _sha256(code.strip().upper())):
        with writing(engine) as connection:
            connection.execute(login_failures.insert().values(name="(setup)", address=address, at=now))
        raise Refused(
            "This link or code does not work, or no longer: each works once. Stop the inspector and start it again; "
            "it prints a new one.",
            403,
        )
    if password is None:
        user = ensure_user(engine, require_name(name), "admin", now, "local")
    else:
        user = add_user(engine, name, "admin", password, now)
    with writing(engine) as connection:
        connection.execute(meta.delete().where(meta.c.key == "setup_code"))
    return user


def require_name(name: str) -> str:
    """A user name given in settings. Raises `InputError`."""
    if not NAME.fullmatch(name.strip()):
        raise InputError(f"{name!r} cannot be a user's name: use 1 to 80 letters, digits and . @ + - _ or spaces.")
    return name.strip()
