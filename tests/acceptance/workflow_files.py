"""What is in the repositories of the workflows when they begin."""

#: An application that is deployed by scripts; 1.6.0 fails its health check.
DEPLOYMENT = {
    "deployment/staging.toml": 'strategy = "blue-green"\nrollback = "sh deployment/rollback.sh"\n',
    "deployment/history.csv": "version,outcome\n1.4.0,succeeded\n",
    "deployment/deploy.sh": """\
test "$(tail -n 1 deployment/history.csv)" = "$2,succeeded" || exit 9
echo "$1" > staging.version
test "$1" != 1.6.0 || { echo "health check of $1: 503"; exit 3; }
echo "$1,succeeded" >> deployment/history.csv
echo "staging runs $1"
""",
    "deployment/migrate.sh": 'echo "$1" > staging.schema\necho "the schema is $1"\n',
    "deployment/rollback.sh": """\
cp deployment/good.version staging.version
echo "$1,rolled back to $(cat staging.version)" >> deployment/history.csv
echo "staging runs $(cat staging.version) again"
""",
    "deployment/good.version": "1.5.0\n",
    "staging.version": "1.4.0\n",
    "staging.schema": "14\n",
}

#: The journal of somebody who does research, and what they like.
JOURNALS = {
    "journal/2026-10-02.md": "# Coral reefs\nInsight: bleaching follows the heat by four weeks.\n",
    "journal/2026-10-19.md": "# Talk with Mira\nInsight: shaded nurseries lose half as many corals.\n",
    "journal/2026-08-01.md": "# Before\nInsight: buy better boots.\n",
    "insights/2026-08.md": "- Boots matter.\n",
    "profile.md": "Interests: reefs, heat. Style: short, with dates.\n",
}

#: Data of two sources, and the rules by which they are processed.
PROCESSING = {
    "processing/rules.toml": 'stakeholders = "sales"\nreject = "negative amounts"\n',
    "processing/run.sh": """\
day=$(cat sources/day)
cat sources/north.csv sources/south.csv | awk -F, '
    $2 < 0 { bad++; next } { sum += $2 } END { print "total," sum; print "rejected," bad + 0 }
' > "results/$day.csv"
echo "$day,$(head -n 1 "results/$day.csv")" >> processing/history.csv
cat "results/$day.csv"
""",
    "processing/history.csv": "2026-11-24,total,70\n",
    "sources/day": "2026-11-25",
    "sources/north.csv": "a,10\nb,20\nc,-5\n",
    "sources/south.csv": "d,30\n",
    "results/2026-11-24.csv": "total,70\nrejected,0\n",
}

#: What is known of competitors, what they show on the web now, and how reports are made.
COMPETITORS = {
    "web/alpha.html": "<h1>Alpha</h1><p class=price>90</p>\n",
    "web/beta.html": "<h1>Beta</h1><p class=price>120</p>\n",
    "prices/2026-08.csv": "alpha,100\nbeta,110\n",
    "reports/2026-08.md": "Alpha 100, Beta 110. To watch: Alpha undercuts us soon.\n",
    "preferences.md": "Framework: change since the report before. Template: reports/template.md\n",
    "reports/template.md": "# Prices of competitors\n",
    "tools/collect.sh": """\
price=$(sed -n 's/.*class=price>\\([0-9]*\\)<.*/\\1/p' "web/$1.html")
echo "$1,$price" > "prices/2026-11-$1.csv"
cat "prices/2026-11-$1.csv"
""",
    "tools/analyse.sh": """\
mkdir -p analysis
awk -F, '{ sum += $2 } END { print "mean of August," sum / NR }' prices/2026-08.csv > analysis/2026-08.csv
cat analysis/2026-08.csv
""",
    "tools/report.sh": """\
{
    cat reports/template.md
    cat prices/2026-11-*.csv | while IFS=, read -r who price; do
        before=$(sed -n "s/^$who,//p" prices/2026-08.csv)
        echo "- $who: $price, was $before ($((price - before)))"
    done
    echo "- $(cat analysis/2026-08.csv)"
} > reports/2026-11.md
cat reports/2026-11.md
""",
}

#: What the tools make of it.
REPORT = (
    "# Prices of competitors\n- alpha: 90, was 100 (-10)\n- beta: 120, was 110 (10)\n- mean of August,105\n"
)
