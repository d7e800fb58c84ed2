"""``safegen catalog reassign``: who holds these works from now on?"""

from datetime import UTC, datetime

import click

from safegen.cli.options import config, emit, format_option, moment


@click.command()
@click.argument("work_ids", nargs=-1, required=True, metavar="WORK_ID...")
@click.option(
    "--rights-holder",
    required=True,
    metavar="NAME",
    help='Who holds the works, or shares: "Acme (60%); Bob (40%)".',
)
@click.option("--valid-from", metavar="DAY|TIME", help="First moment of the shares. [default: now]")
@format_option
def reassign(
    work_ids: tuple[str, ...], rights_holder: str, valid_from: str | None, format_: str
) -> None:
    """End the shares of works now, and record who holds them from now on.

    Nothing is overwritten: `catalog show --as-of` and `audit --as-of` still answer with
    the shares of an earlier day. Licenses stay as they are.

    \b
    Exit status:
      0  recorded
      1  one of them is not in the catalog; nothing was changed
      2  bad arguments

    \b
    Example:
      safegen catalog reassign e535483f-ddbc-5a44-a2d6-03da1f58548b \\
        --rights-holder "Acme (60%); Bob (40%)"
    """
    import dataclasses

    from registry import catalog, schema
    from safegen.declarations import parse_rights

    since = moment("--valid-from", valid_from)
    rights = tuple(
        dataclasses.replace(right, valid_from=since) for right in parse_rights(rights_holder)
    )
    at = datetime.now(UTC)
    with schema.open_database(config().database_url) as database:
        with database.begin() as session:
            for work_id in work_ids:
                catalog.reassign(session, work_id, rights, at=at)
        with database.read() as session:
            works = [catalog.get_work(session, work_id) for work_id in work_ids]
    for work in works:
        shares = [
            {"rights_holder": right.rights_holder, "share_percent": right.share_percent}
            for right in work.rights
        ]
        recorded = at.isoformat(timespec="seconds")
        row = {"work_id": work.work_id, "rights": shares, "recorded_at": recorded}
        emit(row, f"{work.work_id}  {work.rights_holder}", format_)
