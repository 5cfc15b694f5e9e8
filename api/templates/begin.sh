URL=http://127.0.0.1:8000
curl "$URL/api/register" --json '{"username": "ada", "password": "correct horse battery"}'
TOKEN=$(curl -s "$URL/api/token" --json '{"username": "ada", "password": "correct horse battery"}' |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')
USER_ID=$(curl -s "$URL/api/me" -H "Authorization: Bearer $TOKEN" |
  sed 's/.*"userID":"\([^"]*\)".*/\1/')
