use super::*;

fn images(text: &str) -> Vec<String> {
    Asks::read(text).images.into_iter().collect()
}

#[test]
fn images_are_found_wherever_they_are_named() {
    let text = "# a comment\nFROM --platform=linux/amd64 golang:1 AS build\nRUN make\n\
                FROM build AS test\nfrom scratch\nCOPY --from=build /a /a\nCOPY --chown=1 --from=nginx:1 /b /b\n\
                RUN --mount=type=cache,target=/c,from=redis:7 --mount=from=0,target=/d cat /c\n\
                ONBUILD COPY --from=later /x /y\n";
    assert_eq!(images(text), ["golang:1", "later", "nginx:1", "redis:7"]);
}

#[test]
fn stages_are_no_images_and_a_stage_that_comes_later_is_one() {
    assert_eq!(images("FROM a AS One\nFROM one\nFROM two\nFROM b AS two\n"), ["a", "b", "two"]);
    assert_eq!(images("FROM a\nCOPY --from=0 x y\nCOPY --from=7 x y\n"), ["7", "a"]);
}

#[test]
fn variables_have_the_values_that_the_dockerfile_gives_them() {
    for (text, image) in [
        ("ARG A=x:1\nFROM $A", "x:1"),
        ("ARG A=x B=${A}:2\nFROM \"${B}\"", "x:2"),
        ("FROM ${A:-x:3}", "x:3"),
        ("ARG A=x\nFROM ${A:+y}", "y"),
        ("ARG A='x'\nFROM fu\\nc-${A}/app", "func-x/app"),
        ("ARG A\nARG A=x\nFROM ${A-z}", "x"),
        ("FROM ${TARGETOS:+x:4}", "x:4"),
        ("ARG TARGETOS=other\nFROM ${TARGETOS}", "other"),
    ] {
        assert_eq!(images(text), [image], "{text}");
    }
    let asks = Asks::read("FROM ${A#b}\nFROM $UNKNOWN\n");
    assert_eq!(asks.unclear.into_iter().collect::<Vec<_>>(), ["${A#b}"]);
    assert!(asks.images.is_empty(), "what was never given a value is empty");
    // A base image may give any variable a value.
    for line in ["COPY --from=$X a b", "RUN --mount=type=bind,from=${X},target=/x ls"] {
        let asks = Asks::read(&format!("FROM base AS a\nARG X=fine\nENV X=fine\n{line}"));
        assert!(asks.unclear.iter().any(|unclear| unclear.contains('X')), "{line}: {asks:?}");
    }
}

#[test]
fn what_some_reader_takes_for_an_instruction_is_found() {
    for text in [
        "FROM \\\n# in between\n\n  evil/app:1",
        "# escape=`\nFROM `\nevil/app:1",
        "#escape=`\nRUN echo \\\nFROM evil/app:1",
        "RUN echo \\\\\nFROM evil/app:1",
        "RUN <<EOF\nFROM evil/app:1\nEOF\n",
        "RUN <<-'A' cat <<B\n\tA\nB\nFROM evil/app:1",
        "ARG B=evil/app:1\nRUN <<X\nARG B=other\nX\nFROM $B",
        "\u{feff}FROM evil/app:1\r\n",
        "from\tevil/app:1",
        "FROM evil/app:1 \\",
    ] {
        assert!(images(text).contains(&"evil/app:1".to_owned()), "{text:?}: {:?}", images(text));
    }
}

#[test]
fn an_ordinary_dockerfile_is_clear() {
    let text = "# syntax=docker/dockerfile:1\nARG GO=1.22\nFROM --platform=$BUILDPLATFORM golang:${GO} AS build\n\
                ARG VERSION=v1\nADD https://example.org/tool-${VERSION#v}.tgz /tmp/\n\
                ADD --checksum=sha256:00 https://example.org/x.git#v1 /x\nCOPY <<EOF /etc/motd\nadd ${x%y} of $HOME\n\
                from ${z}\nEOF\nRUN <<-'EOF'\n\tcopy ${a%b}\n\tEOF\nFROM base-${TARGETARCH}\nCOPY --from=build /a /b\n";
    let asks = Asks::read(text);
    assert!(asks.unclear.is_empty(), "{asks:?}");
    assert!(asks.images.contains("golang:1.22") && asks.images.contains("base-amd64"), "{asks:?}");
}

#[test]
fn another_reader_of_the_syntax_is_found_where_buildkit_looks_for_it() {
    let syntax = |text: &str| Asks::read(text).syntax;
    assert_eq!(syntax("# syntax=docker/dockerfile:1\nFROM a").as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(syntax("#escape=`\n# Syntax = x/y and more\n").as_deref(), Some("x/y"));
    assert_eq!(syntax("#!/usr/bin/x\n// syntax=x/y\n").as_deref(), Some("x/y"));
    assert_eq!(syntax("FROM a\n# syntax=x/y\n"), None);
}

#[test]
fn nothing_that_a_stranger_writes_is_too_much_for_it() {
    let deep = format!("FROM {}", "${a:-".repeat(100_000));
    for text in
        ["", "\\", "FROM", "ADD", "ARG =", "ENV", "ENV a", "RUN <<", "FROM ${", "FROM $", "ADD [", &deep]
    {
        Asks::read(text);
    }
    Asks::read(&"ONBUILD ".repeat(100_000));
    let doubling: String = (1..100).map(|n| format!("ARG A{n}=$A{m}$A{m}\n", m = n - 1)).collect();
    assert!(Asks::read(&format!("ARG A0=x\n{doubling}FROM $A99")).unclear.contains("$A99"));
}
